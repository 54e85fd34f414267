// What moves on the page: times in the reader's own zone, and the main part of a page that is under way, renewed while it
// is seen. Without scripts the page has all the same, as it was when it was loaded.
const EVERY_MS = 3000, AT_MOST_MS = 60000;
let pause = EVERY_MS, last = null;

function localise(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const date = new Date(time.dateTime);
    time.title = time.dateTime;
    time.textContent = date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  }
}

// Whoever is at something here keeps it: a field, a button, a ticked box, a selection.
function busy(main) {
  const at = document.activeElement, selected = getSelection();
  return at !== null && at !== document.body && main.contains(at) || main.querySelector("input:checked") !== null
    || selected !== null && !selected.isCollapsed && main.contains(selected.anchorNode);
}

function replace(main, fresh) {
  const open = new Set([...main.querySelectorAll("details[open] > summary")].map((one) => one.textContent));
  main.replaceChildren(...fresh.childNodes);
  for (const summary of main.querySelectorAll("details > summary")) {
    if (open.has(summary.textContent)) summary.parentElement.open = true;
  }
  localise(main);
}

async function renew() {
  const main = document.getElementById("main");
  if (!("live" in main.dataset)) return;
  if (!document.hidden && !busy(main)) {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.redirected) { location.reload(); return; }
      pause = answer.ok ? EVERY_MS : Math.min(AT_MOST_MS, 2 * pause);
      if (answer.ok) {
        const text = await answer.text();
        const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("main");
        const over = !("live" in fresh.dataset);
        if (text !== last && !busy(main)) { replace(main, fresh); last = text; }
        if (over) delete main.dataset.live;
      }
    } catch { pause = Math.min(AT_MOST_MS, 2 * pause); } // the server is away: asked again
  }
  setTimeout(renew, pause);
}

localise(document);
setTimeout(renew, EVERY_MS);
