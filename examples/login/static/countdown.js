// Counts a waiting time down. Without scripts the page shows the time as text and reloads itself when it is over.
for (const wait of document.querySelectorAll("[data-wait]")) {
  const over = performance.now() + 1000 * wait.dataset.wait;
  const two = (n) => String(n).padStart(2, "0");
  const tick = () => {
    const s = Math.ceil((over - performance.now()) / 1000);
    if (s <= 0) {
      clearInterval(timer);
      wait.closest("[role=alert]").textContent = "You can try again now.";
      return;
    }
    const h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
    wait.textContent = h ? `${h}:${two(m)}:${two(s % 60)}` : `${m}:${two(s % 60)}`;
  };
  const timer = setInterval(tick, 250);
  tick();
}
