// Sorts and filters the rows of a list in the browser, and keeps the choice for the next look at the same page.
const table = document.querySelector("table[data-list]"), body = table.tBodies[0], rows = [...body.rows];
const texts = new Map(rows.map(row => [row, row.textContent.toLowerCase()]));
const controls = [...document.querySelectorAll("[data-filter]")], shown = document.getElementById("shown");
const renew = document.getElementById("renew");  // of a page that shows what changes meanwhile
const name = `list ${location.pathname}`;
let sorted = { column: -1, down: false };

function show() {
  let count = 0;
  for (const row of rows) {
    row.hidden = !controls.every(one => {
      if (one.type === "checkbox") return !one.checked || one.dataset.filter in row.dataset;
      if (one.type === "search") return texts.get(row).includes(one.value.trim().toLowerCase());
      return !one.value || row.dataset[one.dataset.filter] === one.value;
    });
    count += !row.hidden;
  }
  shown.textContent = count === rows.length ? "" : `${count} of ${rows.length} shown`;
  keep();
}

// By a number where every cell that says something is one, else as text; what says nothing comes last.
function sort(column, down) {
  sorted = { column, down };
  const said = new Map(rows.map(row => [row, row.cells[column]?.dataset.value ?? row.cells[column]?.textContent.trim() ?? ""]));
  const numbers = rows.every(row => !Number.isNaN(Number(said.get(row))));
  const ordered = column < 0 ? rows : [...rows].sort((one, other) => {
    const [a, b] = [said.get(one), said.get(other)];
    if (!a || !b) return !a - !b;
    return (numbers ? a - b : a.localeCompare(b, "en", { numeric: true })) * (down ? -1 : 1);
  });
  body.append(...ordered);
  for (const head of table.tHead.rows[0].cells)
    head.setAttribute("aria-sort", head.cellIndex !== column ? "none" : down ? "descending" : "ascending");
  keep();
}

function keep() {
  try { sessionStorage.setItem(name, JSON.stringify({ ...sorted, renew: renew?.checked, values: controls.map(one => one.type === "checkbox" ? one.checked : one.value) })); } catch { /* a page from disk may have no storage */ }
}

function again() {
  let kept = null;
  try { kept = JSON.parse(sessionStorage.getItem(name)); } catch { /* as above */ }
  if (!kept) return;
  if (renew) renew.checked = kept.renew ?? true;
  controls.forEach((one, at) => { if (one.type === "checkbox") one.checked = kept.values[at]; else one.value = kept.values[at] ?? ""; });
  show();
  if (kept.column >= 0) sort(kept.column, kept.down);
}

for (const one of controls) one.addEventListener("input", show);
table.tHead.addEventListener("click", event => {
  const column = event.target.closest("th")?.cellIndex;
  if (!event.target.closest("button")) return;
  if (sorted.column === column && sorted.down) sort(-1, false);  // the third click: as it was made
  else sort(column, sorted.column === column);
});
renew?.addEventListener("input", keep);
setInterval(() => renew?.checked && location.reload(), 15_000);
again();
table.dataset.list = "ready";
