// What is said on plain pages: commands for a terminal, with the address under which the browser has found the server.

const isFront = document.documentElement.dataset.page === 'front';
const root = new URL(!isFront && location.pathname.endsWith('/') ? '../' : './', location.origin + location.pathname);

for (const command of document.querySelectorAll('pre code')) {
  command.textContent = command.textContent.replaceAll('http://localhost:8080/', root.href);
}
