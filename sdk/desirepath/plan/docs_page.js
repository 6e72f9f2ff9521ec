document.getElementById("filter").addEventListener("input", (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  for (const card of document.querySelectorAll("article[data-name]")) {
    card.hidden = wanted !== "" && !card.textContent.toLowerCase().includes(wanted);
  }
  for (const link of document.querySelectorAll("nav li a")) {
    const card = document.getElementById(link.hash.slice(1));
    link.parentElement.hidden = card !== null && card.hidden;
  }
});
