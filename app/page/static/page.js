// What moves on the page: times in the reader's own zone, and the main part of a page that is under way, renewed while it
// is seen. Without scripts the page has all the same, as it was when it was loaded.
const EVERY_MS = 1500;

function localise(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const date = new Date(time.dateTime);
    time.title = time.dateTime;
    time.textContent = date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  }
}

function busy(main) {
  const at = document.activeElement;
  return at !== null && main.contains(at) && at.matches("input, select, textarea") || main.querySelector("input:checked") !== null;
}

async function renew() {
  const main = document.getElementById("main");
  if (!("live" in main.dataset)) return;
  if (!document.hidden && !busy(main)) {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.redirected) { location.reload(); return; }
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById("main");
        if (fresh.innerHTML !== main.dataset.last) {
          const open = [...main.querySelectorAll("details")].map((one) => one.open);
          main.replaceChildren(...fresh.childNodes);
          main.querySelectorAll("details").forEach((one, place) => { one.open = open[place] ?? one.open; });
          localise(main);
        }
        if (!("live" in fresh.dataset)) delete main.dataset.live;
      }
    } catch { /* the server is away: asked again */ }
  }
  setTimeout(renew, EVERY_MS);
}

localise(document);
setTimeout(renew, EVERY_MS);
