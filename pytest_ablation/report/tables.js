// Sorts and filters by number: our tables, and by our columns pytest-html's table of tests.
{
  const OFFSET = 1e6  // keys in pytest-html's cells are never negative, so that they sort as text
  const all = (selector, within = document) => [...within.querySelectorAll(selector)]
  const make = (tag, settings = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), settings)
    made.append(...children)
    return made
  }
  const valueOf = (cell) => {
    if (!cell) return NaN
    if (cell.dataset.n !== undefined) return cell.dataset.n === "" ? NaN : Number(cell.dataset.n)
    const key = cell.firstChild
    return key && key.nodeType === Node.COMMENT_NODE ? Number(key.data) - OFFSET : NaN
  }

  const sortable = (table) => {
    const body = table.tBodies[0]
    const original = [...body.rows]
    const heads = all("th[data-sort]", table)
    for (const head of heads) {
      const column = head.cellIndex
      const button = make("button", {type: "button"}, ...head.childNodes)
      head.append(button)
      button.addEventListener("click", () => {
        const next = {ascending: "descending", descending: "none"}[head.ariaSort] ?? "ascending"
        for (const other of heads) other.removeAttribute("aria-sort")
        const sign = next === "ascending" ? 1 : -1
        const keyed = original.map((row) => [valueOf(row.cells[column]), row])
        if (next !== "none") {
          head.ariaSort = next
          keyed.sort(([a], [b]) => isNaN(a) - isNaN(b) || sign * (a - b) || 0)
        }
        body.append(...keyed.map(([, row]) => row))
      })
    }
  }

  // `rows` gives the rows as they are now; `cell` a row's cell of a column.
  const filter = ({rows, columns, verdicts, cell, verdict}) => {
    const text = make("input", {type: "search", placeholder: "any text"})
    const outcome = make("select", {}, make("option", {value: "", textContent: "any"}),
      ...verdicts.map((each) => make("option", {textContent: each})))
    const column = make("select", {ariaLabel: "Column"},
      ...columns.map(([name, value]) => make("option", {textContent: name, value})))
    const least = make("input", {type: "number", step: "any", ariaLabel: "At least"})
    const most = make("input", {type: "number", step: "any", ariaLabel: "At most"})
    const count = make("output")
    const apply = () => {
      const asked = text.value.trim().toLowerCase()
      const [from, to] = [least, most].map((each) => each.value === "" ? NaN : Number(each.value))
      const current = rows()
      let shown = 0
      for (const row of current) {
        const value = valueOf(cell(row, column.value))
        const fits = (!asked || row.textContent.toLowerCase().includes(asked))
          && (!outcome.value || verdict(row) === outcome.value)
          && (isNaN(from) || value >= from) && (isNaN(to) || value <= to)
        if (row.hidden === fits) row.hidden = !fits
        shown += fits
      }
      count.textContent = shown === current.length ? "" : `${shown} of ${current.length}`
    }
    const form = make("form", {className: "pytest-ablation filter"},
      make("label", {}, "Find ", text),
      ...(verdicts.length > 1 ? [make("label", {}, "Verdict ", outcome)] : []),
      make("span", {}, column, " from ", least, " to ", most), count)
    form.addEventListener("submit", (event) => event.preventDefault())
    form.addEventListener("input", apply)
    return [form, apply]
  }

  // Not innerText, which would have a page of a thousand rows laid out for it.
  const named = (head) => [...(head.querySelector("button") ?? head).childNodes]
    .map((each) => each.textContent.trim()).filter(Boolean).join(" ")
  for (const table of all("table.findings")) sortable(table)
  for (const table of all("table[data-filter]")) {
    const rows = [...table.tBodies[0].rows]
    const verdict = (row) => row.querySelector(".verdict")?.textContent
    const [form] = filter({
      rows: () => rows,
      columns: all("th[data-sort]", table).map((head) => [named(head), head.cellIndex]),
      verdicts: [...new Set(rows.map(verdict).filter(Boolean))],
      cell: (row, column) => row.cells[column],
      verdict,
    })
    table.parentElement.before(form)
  }

  document.addEventListener("DOMContentLoaded", () => {
    const theirs = () => document.getElementById("results-table")
    if (!theirs()) return
    const [form, apply] = filter({
      rows: () => all("tbody.results-table-row", theirs()).filter((each) => each.querySelector(".collapsible")),
      columns: all("th.ablation", theirs()).map((head) => [named(head), head.dataset.columnType]),
      verdicts: [],  // pytest-html has boxes for them
      cell: (row, column) => row.querySelector(`.col-${column}`),
    })
    theirs().before(form)
    new MutationObserver(apply).observe(document.body, {childList: true})
  })

  addEventListener("beforeprint", () => {
    for (const each of all(".pytest-ablation.page:not(.tests) > details")) each.open = true
  })
}
