// Light or dark: as the system is, unless somebody has chosen otherwise here.

import { computed, signal } from '@preact/signals';

export type Theme = 'system' | 'light' | 'dark';

const SETTING = 'aetherium:theme';
const system = matchMedia('(prefers-color-scheme: dark)');
const stored = localStorage.getItem(SETTING);

export const chosenTheme = signal<Theme>(stored === 'light' || stored === 'dark' ? stored : 'system');
const systemIsDark = signal(system.matches);
system.addEventListener('change', () => { systemIsDark.value = system.matches; });

/** What is shown. Canvases and charts read their colours anew when it changes. */
export const theme = computed<'light' | 'dark'>(() =>
  chosenTheme.value === 'system' ? (systemIsDark.value ? 'dark' : 'light') : chosenTheme.value);

export function chooseTheme(next: Theme): void {
  chosenTheme.value = next;
  if (next === 'system') localStorage.removeItem(SETTING);
  else localStorage.setItem(SETTING, next);
}

/** A colour of the present theme by its name in `tokens.css`, for what cannot use CSS: `colour('--accent')`. */
export function colour(name: string): string {
  void theme.value;
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

theme.subscribe((theme) => { document.documentElement.dataset['theme'] = theme; });

export const reducedMotion = matchMedia('(prefers-reduced-motion: reduce)');
