// The reference of the REST API, drawn from the server's own description of itself.

import SwaggerUI from 'swagger-ui-dist/swagger-ui-es-bundle.js';
import { at } from './here.js';
import { isStream, someOf } from './streams.js';
import './docs.css';

// Swagger UI has a dark form, but leaves it to the page when to wear it.
const dark = matchMedia('(prefers-color-scheme: dark)');
const dress = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
dark.addEventListener('change', dress);
dress();

for (const link of document.querySelectorAll('.bar a')) link.href = at(link.getAttribute('href'));

/**
 * The document, with examples of what may be left out as words of its description: where they are, Swagger UI writes
 * them into the form, and sends a question that has every filter at once.
 */
function inWords(document) {
  const methods = Object.values(document.paths).flatMap(({ parameters, ...methods }) => [{ parameters }, ...Object.values(methods)]);
  for (const parameter of methods.flatMap(({ parameters }) => parameters ?? [])) {
    if (parameter.required || parameter.example === undefined) continue;
    const example = [parameter.example].flat().join(', ');
    const words = parameter.description ?? '';
    if (!words.includes(`\`${example}\``)) parameter.description = `${words} Example: \`${example}\`.`;
    delete parameter.example;
  }
  return document;
}

/** The document without the cookies of sessions, which a browser sends by itself: there is nothing to fill in. */
function withoutCookies(document) {
  const schemes = document.components?.securitySchemes ?? {};
  const cookies = Object.keys(schemes).filter((name) => schemes[name].in === 'cookie');
  for (const name of cookies) delete schemes[name];
  const methods = Object.values(document.paths).flatMap((path) => Object.values(path));
  for (const { security } of [document, ...methods].filter(({ security }) => Array.isArray(security))) {
    security.splice(0, security.length, ...security.filter((one) => !cookies.some((name) => name in one)));
  }
  return document;
}

/** The document without what Swagger UI makes links to other hosts of: this page leads nowhere else. */
function withoutLinks(document) {
  const { license } = document.info;
  if (license) document.info.license = { name: license.name };
  return document;
}

// Not bundled: the pages that are not built have it, too.
const session = await import(at('assets/session.js'));

const place = document.getElementById('docs');
try {
  const response = await fetch(at('api/v1/openapi.json'));
  if (!response.ok) throw new Error(`the server answers ${response.status}`);
  SwaggerUI({
    domNode: place,
    // The document names the server by a path, which a proxy may have put below another.
    spec: { ...withoutLinks(withoutCookies(inWords(await response.json()))), servers: [{ url: at('api/v1') }] },
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    filter: true,
    requestInterceptor(request) {
      // Swagger UI shows an answer when it is whole, which a stream never is.
      if (isStream(request)) request.userFetch = someOf;
      return request;
    },
    responseInterceptor(response) {
      if (response.status === 401) session.check();
      return response;
    },
    // It would ask a host on the internet what it thinks of the document.
    validatorUrl: null,
  });
} catch (error) {
  place.innerHTML = '<p class="opening" role="alert"></p>';
  place.firstChild.textContent = `The description of the API cannot be read: ${error.message}.`;
}
