// Copying: a command to paste, and the same question as curl, GraphQL or command line.

import { useEffect, useRef, useState } from 'preact/hooks';
import { at, endpoint } from '../root';
import { session } from '../session';
import { toastError } from './toast';

/** What copies a text, and whether it has just done so: for a moment, a button says that. */
function useCopy(text: string): { isCopied: boolean; copy: () => Promise<void> } {
  const [copied, setCopied] = useState<string | null>(null);
  async function copy(): Promise<void> {
    try {
      await copyText(text);
      setCopied(text);
      setTimeout(() => setCopied(null), 1_500);
    } catch {
      toastError('The browser does not let this page copy: select the text instead.');
    }
  }
  return { isCopied: copied === text, copy };
}

export function CopyButton({ text, label = 'Copy', class: more = '' }: { text: string; label?: string; class?: string }) {
  const { isCopied, copy } = useCopy(text);
  return <button type="button" class={`button small ${more}`} onClick={copy} aria-live="polite">{isCopied ? 'Copied' : label}</button>;
}

/** A command with a button that copies it. */
export function Code({ children }: { children: string }) {
  return <div class="code"><pre>{children}</pre><CopyButton text={children} /></div>;
}

/** A menu that closes when something else is clicked or Escape is pressed. */
export function Menu({ label, class: more = '', buttonClass = 'button small', children }: {
  label: preact.ComponentChildren;
  class?: string;
  buttonClass?: string;
  children: preact.ComponentChildren;
}) {
  const menu = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = (event: Event): void => {
      const details = menu.current;
      if (!details?.open) return;
      if (event instanceof KeyboardEvent ? event.key === 'Escape' : !details.contains(event.target as Node)) {
        details.open = false;
        if (event instanceof KeyboardEvent) { event.stopPropagation(); details.querySelector('summary')?.focus(); }
      }
    };
    document.addEventListener('pointerdown', close);
    document.addEventListener('keydown', close, true);
    return () => {
      document.removeEventListener('pointerdown', close);
      document.removeEventListener('keydown', close, true);
    };
  }, []);
  return (
    <details class={`menu ${more}`} ref={menu}>
      <summary class={buttonClass}>{label}</summary>
      <div class="sheet">{children}</div>
    </details>
  );
}

export interface Request {
  /** Path below `api/v1`, such as `workers/w1/drain`. */
  path: string;
  method?: string;
  body?: unknown;
  graphql: string;
  variables?: unknown;
  /** Arguments of the program: `worker show w1`. */
  cli?: string;
}

/**
 * The same question for a terminal, an editor, or the command line. `what` tells this menu from others on the page: `history`.
 * `more` are further requests of the same menu, by what they do.
 */
export function CopyAs({ request, what, title, more = [] }: {
  request: Request;
  what?: string;
  /** What `request` asks for, over its lines in the menu; needed where there are more. */
  title?: string;
  more?: readonly (readonly [title: string, request: Request])[];
}) {
  return (
    <Menu label={<>Copy {what && `${what} `}as <span aria-hidden="true">▾</span></>}>
      {([[title, request], ...more] as const).map(([title, request]) => (
        <>
          {title && <div class="title">{title}</div>}
          {Object.entries(textsOf(request)).map(([name, text]) => <CopyItem key={`${title} ${name}`} name={name} text={text} />)}
        </>
      ))}
    </Menu>
  );
}

function textsOf(request: Request): Record<string, string> {
  return {
    'curl, REST': curl(request),
    'curl, GraphQL': graphql(request),
    'GraphQL': request.graphql,
    ...(request.cli ? { 'Command line': `aetherium ${request.cli}` } : {}),
  };
}

function CopyItem({ name, text }: { name: string; text: string }) {
  const { isCopied, copy } = useCopy(text);
  return <button type="button" onClick={copy} title={text}>{isCopied ? 'Copied' : name}</button>;
}

/** Puts a text on the clipboard. Over plain HTTP from another machine browsers have no clipboard but the old command. */
async function copyText(text: string): Promise<void> {
  if (window.isSecureContext && navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = document.createElement('textarea');
  field.value = text;
  field.className = 'visually-hidden';
  field.setAttribute('aria-hidden', 'true');
  const focused = document.activeElement as HTMLElement | null;
  // Nothing outside of a modal dialog can be selected.
  (document.querySelector('dialog[open]') ?? document.body).append(field);
  field.select();
  const isCopied = document.execCommand('copy');
  field.remove();
  focused?.focus();
  if (!isCopied) throw new Error('not copied');
}

/** A text in single quotes for a shell. */
export function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** The token of whoever pastes it, if the server asks for one. A page has none that it could copy. */
function authorization(): string[] {
  return session.peek().state === 'open' ? [] : ['-H', '"Authorization: Bearer $AETHERIUM_TOKEN"'];
}

function curl({ path, method = 'GET', body }: Request): string {
  const parts = ['curl', '-s'];
  if (method !== 'GET') parts.push('-X', method);
  parts.push(quote(at(`api/v1/${path}`)), ...authorization());
  if (body !== undefined) parts.push('-H', quote('Content-Type: application/json'), '-d', quote(JSON.stringify(body)));
  return parts.join(' ');
}

function graphql({ graphql, variables }: Request): string {
  const body = JSON.stringify({ query: graphql, ...(variables ? { variables } : {}) });
  return ['curl', '-s', quote(endpoint), ...authorization(), '-H', quote('Content-Type: application/json'), '-d', quote(body)].join(' ');
}
