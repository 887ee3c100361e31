'use strict';
(function () {
  const status = document.getElementById('status');
  const say = function (text) { status.textContent = text; };
  const valueOf = function (row, at) { return row.cells[at].getAttribute('data-v'); };

  function compare(a, b) {
    const both = [Number(a), Number(b)];
    return both.some(Number.isNaN) ? a.localeCompare(b, 'en') : both[0] - both[1];
  }

  // A row without a value stands last whichever way the others go: what is missing is never ranked.
  function order(rows, at, direction) {
    const has = rows.filter(function (row) { return valueOf(row, at) !== null; });
    const lacks = rows.filter(function (row) { return valueOf(row, at) === null; });
    has.sort(function (a, b) {
      return direction * compare(valueOf(a, at), valueOf(b, at)) || a.first - b.first;
    });
    return has.concat(lacks);
  }

  function sort(table, head, at) {
    const direction = head.getAttribute('aria-sort') === 'ascending' ? -1 : 1;
    table.querySelectorAll('thead th[aria-sort]').forEach(function (other) { other.removeAttribute('aria-sort'); });
    head.setAttribute('aria-sort', direction > 0 ? 'ascending' : 'descending');
    Array.from(table.tBodies).forEach(function (body) {
      if (!body.classList.contains('control')) {
        body.append.apply(body, order(Array.from(body.querySelectorAll('tr.row')), at, direction));
      }
    });
    say('Sorted by ' + head.textContent.trim() + ', ' + (direction > 0 ? 'smallest' : 'largest') + ' first');
  }

  document.querySelectorAll('table').forEach(function (table) {
    table.querySelectorAll('tr.row').forEach(function (row, number) { row.first = number; });
    const heads = table.tHead.rows[table.tHead.rows.length - 1].cells;
    Array.from(heads).forEach(function (head, at) {
      if (head.hasAttribute('data-fixed')) { return; }
      const button = document.createElement('button');
      button.type = 'button';
      button.append.apply(button, Array.from(head.childNodes));
      head.append(button);
      button.addEventListener('click', function () { sort(table, head, at); });
    });
  });

  const find = document.getElementById('find');
  const division = document.getElementById('division');
  const repeats = document.getElementById('repeats');

  // Strategy, the submission's name and submitter, as they stand in the row, and its id, which does not.
  function identity(row) {
    const parts = [row.querySelector('th a').textContent, row.querySelector('th .by').textContent, row.dataset.id];
    return parts.join(' ').toLowerCase();
  }

  function filter() {
    const wanted = find.value.trim().toLowerCase();
    let shown = 0, all = 0;
    document.querySelectorAll('tbody[data-division]').forEach(function (body) {
      const here = !division.value || body.dataset.division === division.value;
      let some = false;
      body.querySelectorAll('tr.row').forEach(function (row) {
        const fits = here && (repeats.checked || !row.hasAttribute('data-repeat')) &&
          identity(row).includes(wanted);
        row.hidden = !fits;
        some = some || fits;
        all += 1;
        shown += fits ? 1 : 0;
      });
      body.hidden = !some;
    });
    say((shown === all ? '' : shown + ' of ') + all + (all === 1 ? ' row' : ' rows'));
  }

  find.addEventListener('input', filter);
  [division, repeats].forEach(function (control) { control.addEventListener('change', filter); });
  document.querySelector('form.controls').addEventListener('submit', function (event) { event.preventDefault(); });
  document.querySelectorAll('.scripted').forEach(function (part) { part.hidden = false; });
  filter();
})();
