"""Which presets this machine can run, and what each lacks: asked of the functions that a run itself goes through.

machine.py  what is here: memory, devices, disks, extras, keys
presets.py  what a preset needs, and which of it is not here
"""
