// A card with a title, and beside it a link or a control.

import type { ComponentChildren } from 'preact';
import { useElementId } from './element-id';

export function Card({ title, aside, flush, class: more, children }: {
  title?: ComponentChildren;
  aside?: ComponentChildren;
  flush?: boolean;
  class?: string;
  children: ComponentChildren;
}) {
  const id = useElementId();
  return (
    <section class={`card${flush ? ' flush' : ''}${more ? ` ${more}` : ''}`} aria-labelledby={title ? id : undefined}>
      {title && <header><h2 id={id}>{title}</h2>{aside}</header>}
      {children}
    </section>
  );
}
