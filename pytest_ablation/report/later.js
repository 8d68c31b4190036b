// Puts in place what a test unfolds to, once it is near what is seen; the page has it packed.
{
  const packed = document.currentScript.previousElementSibling.textContent
  const bytes = Uint8Array.from(atob(packed), (each) => each.charCodeAt(0))
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))
  const seen = new Set()
  let contents = {}
  const put = (place) => {
    if (!place.firstChild) place.innerHTML = contents[place.dataset.test] ?? ""
    seen.add(place.dataset.test)
  }
  const near = new IntersectionObserver((entries) => {
    for (const each of entries) if (each.isIntersecting) put(each.target)
  }, {rootMargin: "600px"})
  // pytest-html builds its table anew at each click: what was there is there again at once.
  const find = () => {
    for (const place of document.querySelectorAll(".pytest-ablation.later:empty")) {
      if (seen.has(place.dataset.test)) put(place)
      else near.observe(place)
    }
  }
  document.addEventListener("DOMContentLoaded", async () => {
    contents = await new Response(unpacked).json()
    find()
    new MutationObserver(find).observe(document.body, {childList: true})
  })
  addEventListener("beforeprint", () => {
    for (const place of document.querySelectorAll(".pytest-ablation.later:empty")) {
      if (!place.closest("tr.hidden, details:not([open])")) put(place)
    }
  })
}
