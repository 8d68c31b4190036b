// Gives undecided tests a name and a filter of their own, and counts them among the tests that
// took time: pytest-html takes them for skipped.
{
  const undecided = Number(document.currentScript.dataset.undecided)
  const relabel = () => {
    for (const cell of document.querySelectorAll("td.col-result.undecided")) {
      if (cell.textContent !== "Undecided") cell.textContent = "Undecided"
    }
  }
  document.addEventListener("DOMContentLoaded", () => {
    const theirs = document.querySelector('.filters [data-test-result="skipped"]')
    const label = theirs.nextElementSibling
    const skipped = parseInt(label.textContent) - undecided
    for (const [name, count] of [["undecided", undecided], ["skipped", skipped]]) {
      const box = document.createElement("input")
      Object.assign(box, {type: "checkbox", className: "filter", checked: true, disabled: !count})
      box.dataset.ablationFilter = name
      box.addEventListener("change", () =>
        document.body.classList.toggle(`without-${name}`, !box.checked))
      const text = document.createElement("span")
      text.className = name
      text.textContent = ` ${count} ${name[0].toUpperCase()}${name.slice(1)}, `
      theirs.before(box, text)
    }
    const run = document.querySelector(".run-count")
    const ran = parseInt(run.textContent) + undecided
    run.textContent = run.textContent.replace(/^\d+ tests?/, `${ran} test${ran > 1 ? "s" : ""}`)
    theirs.style.display = label.style.display = "none"
    relabel()
    new MutationObserver(relabel).observe(document.body, {childList: true, subtree: true})
  })
}
