// The reference of the REST API, drawn from the server's own description of itself.

import SwaggerUI from 'swagger-ui-dist/swagger-ui-es-bundle.js';
import { at } from './here.js';
import './docs.css';

// Swagger UI has a dark form, but leaves it to the page when to wear it.
const dark = matchMedia('(prefers-color-scheme: dark)');
const dress = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', dress);
dress();

for (const link of document.querySelectorAll('.bar a')) link.href = at(link.getAttribute('href'));

const place = document.getElementById('docs');
try {
  const response = await fetch(at('api/v1/openapi.json'));
  if (!response.ok) throw new Error(`the server answers ${response.status}`);
  SwaggerUI({
    domNode: place,
    // The document names the server by a path, which a proxy may have put below another.
    spec: { ...(await response.json()), servers: [{ url: at('api/v1') }] },
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    filter: true,
    // It would ask a host on the internet what it thinks of the document.
    validatorUrl: null,
  });
} catch (error) {
  place.innerHTML = '<p class="opening" role="alert"></p>';
  place.firstChild.textContent = `The description of the API cannot be read: ${error.message}.`;
}
