// The colours of the playground's editors: GraphiQL's own, but for those that are too pale to be read on their ground.

import { editor } from 'monaco-graphql/esm/monaco-editor.js';

/** The theme of the editors by that of the page, as GraphiQL takes it. */
export const editorTheme = { dark: 'aetherium-dark', light: 'aetherium-light' };

const CLEAR = '#ffffff00';

/** What both have in common, with the accent and the ground of GraphiQL. */
function colours(accent, ground) {
  const soft = `${accent}19`;
  return {
    'editor.background': CLEAR,
    'editorHoverWidget.background': ground,
    'editorLink.activeForeground': accent,
    'editorSuggestWidget.background': ground,
    'editorSuggestWidget.selectedBackground': soft,
    'editorSuggestWidget.selectedForeground': accent,
    'editorWidget.background': ground,
    'list.focusHighlightForeground': accent,
    'list.highlightForeground': accent,
    'list.hoverBackground': soft,
    'menu.background': ground,
    'menu.selectionBackground': soft,
    'menu.selectionForeground': accent,
    'quickInput.background': ground,
    'quickInputList.focusBackground': soft,
    'scrollbar.shadow': CLEAR,
    'textLink.activeForeground': accent,
    'textLink.foreground': accent,
    focusBorder: accent,
  };
}

editor.defineTheme(editorTheme.dark, {
  base: 'vs-dark',
  inherit: true,
  rules: [
    { token: 'argument.identifier.gql', foreground: '#908aff' },
    { token: 'comment', foreground: '#8fbf7a' },
  ],
  colors: { ...colours('#ff5794', '#212a3b'), 'editorLineNumber.foreground': '#a3abb8' },
});

editor.defineTheme(editorTheme.light, {
  base: 'vs',
  inherit: true,
  rules: [
    { token: 'argument.identifier.gql', foreground: '#5a57b8' },
    { token: 'comment', foreground: '#00700a' },
    { token: 'number', foreground: '#067048' },
  ],
  colors: { ...colours('#d60590', '#ffffff'), 'editorLineNumber.foreground': '#1f6a82' },
});

// GraphiQL follows the system with its page, but not with its editors.
const system = matchMedia('(prefers-color-scheme: dark)');
system.addEventListener('change', () => {
  const isChosen = document.body.matches('.graphiql-dark, .graphiql-light');
  if (!isChosen) editor.setTheme(system.matches ? editorTheme.dark : editorTheme.light);
});
