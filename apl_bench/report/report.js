"use strict";
// The browser of single pairs. The page is readable without it; every text goes in as text, never as markup.
(() => {
  const PAGE = 20;
  const WAIT_MS = 150; // after the last letter of a search

  const made = (tag, name, ...children) => {
    const node = document.createElement(tag);
    if (name) { node.className = name; }
    node.append(...children);
    return node;
  };

  // A text, or a list that alternates between text and marks for what can't be seen.
  const shown = (tag, text) => {
    const node = made(tag, "text");
    node.dir = "auto";
    (Array.isArray(text) ? text : [text]).forEach((part, place) => {
      node.append(place % 2 ? made("span", "mark", part) : part);
    });
    return node;
  };

  const flat = (text) => (Array.isArray(text) ? text.join("") : text).toLowerCase();
  const side = (name, text, won) => made("div", won ? "won" : "", made("h4", "", name), shown("div", text));

  const card = (data, pair) => {
    const place = data.places[pair.place];
    const isTest = place.part === "test";
    const article = made("article", "pair",
      made("header", "", made("b", "", data.strategies[pair.strategy]), `, seed ${pair.seed}, ${place.name}`),
      made("h4", "", "Prompt"), shown("div", pair.prompt),
      made("div", "sides",
        side(isTest ? "A, the policy's" : "A", pair.first, pair.verdict === "first"),
        side(isTest ? "B, the opponent's" : "B", pair.second, pair.verdict === "second")),
      made("p", "verdict", made("b", "", `${data.words[place.part][pair.verdict]}.`), ` ${pair.remarks}`));
    pair.replies.forEach((reply, number) => {
      const name = pair.replies.length > 1 ? `Raw reply ${number + 1}` : "Raw reply";
      article.append(made("details", "", made("summary", "", name), shown("pre", reply)));
    });
    return article;
  };

  const choices = (select, values) => {
    for (const [value, name] of values) {
      const option = made("option", "", name);
      option.value = value;
      select.append(option);
    }
  };

  const start = (root) => {
    const data = JSON.parse(root.querySelector(".data").textContent);
    const form = root.querySelector(".filters");
    const cards = root.querySelector(".cards");
    const pager = root.querySelector(".pager");
    const field = form.elements;
    const distinct = (values) => [...new Set(values)];
    choices(field.strategy, data.strategies.map((name, place) => [place, name]));
    const seeds = distinct(data.pairs.map((pair) => pair.seed)).sort((a, b) => a - b);
    choices(field.seed, seeds.map((seed) => [seed, seed]));
    choices(field.where, [["label", "all labels"], ["test", "all test comparisons"],
      ...data.places.map((place, number) => [number, place.name])]);
    const texts = data.pairs.map((pair) =>
      [pair.prompt, pair.first, pair.second, ...pair.replies].map(flat).join("\n"));
    let found = data.pairs;
    let page = 0;

    const draw = () => {
      const last = Math.max(0, Math.ceil(found.length / PAGE) - 1);
      page = Math.min(page, last);
      cards.replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map((pair) => card(data, pair)));
      root.querySelector(".status").textContent = `${found.length} of ${data.pairs.length} pairs`;
      root.querySelector(".place").textContent = `page ${page + 1} of ${last + 1}`;
      back.disabled = page === 0;
      on.disabled = page === last;
      pager.hidden = last === 0;
    };

    const filter = () => {
      const wanted = field.where.value;
      const words = field.text.value.trim().toLowerCase();
      found = data.pairs.filter((pair, number) =>
        (field.strategy.value === "" || pair.strategy === Number(field.strategy.value)) &&
        (field.seed.value === "" || pair.seed === Number(field.seed.value)) &&
        (field.verdict.value === "" || pair.verdict === field.verdict.value) &&
        (wanted === "" || wanted === data.places[pair.place].part || Number(wanted) === pair.place) &&
        (!words || texts[number].includes(words)));
      page = 0;
      draw();
    };

    const turn = (pages) => {
      page += pages;
      draw();
      form.scrollIntoView();
    };
    const back = pager.querySelector("[name=back]");
    const on = pager.querySelector("[name=on]");
    let timer = 0;
    back.addEventListener("click", () => turn(-1));
    on.addEventListener("click", () => turn(1));
    form.addEventListener("change", filter);
    form.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(filter, WAIT_MS); });
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("reset", () => setTimeout(filter));
    form.hidden = false;
    draw();
  };

  document.querySelectorAll(".pairs").forEach(start);
  // A closed table would be missing on paper.
  window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
})();
