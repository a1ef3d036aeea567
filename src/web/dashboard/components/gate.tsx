// What is shown instead of the pages while nobody is signed in.

import { useRef, useState } from 'preact/hooks';
import { at } from '../root';
import { session, signIn } from '../session';

export function SignIn() {
  const [isBusy, setBusy] = useState(false);
  const [problem, setProblem] = useState('');
  const input = useRef<HTMLInputElement>(null);
  const now = session.value;
  const message = problem || (now.state === 'out' ? now.message : '');
  async function submit(event: Event): Promise<void> {
    event.preventDefault();
    const token = input.current?.value.trim();
    if (!token || isBusy) return;
    setBusy(true);
    try {
      await signIn({ token });
    } catch (error) {
      setProblem((error as Error).message);
      setBusy(false);
      input.current?.focus();
    }
  }
  return (
    <main class="gate">
      <form method="post" onSubmit={submit}>
        <div class="brand"><img src={at('assets/icon.svg')} alt="" />Aetherium</div>
        <h1>Sign in</h1>
        {message && <p class={`notice ${problem ? 'bad' : ''}`} role={problem ? 'alert' : 'status'}>{message}</p>}
        <div class="field">
          <label for="session-token">Token</label>
          <input ref={input} id="session-token" type="password" autocomplete="off" spellcheck={false} required aria-describedby="session-help" autofocus />
        </div>
        <button type="submit" class="button primary" disabled={isBusy}>Sign in</button>
        <p id="session-help" class="small muted">
          This server requires a token. Paste yours, or open a sign-in link, which this command creates on the server&rsquo;s database:{' '}
          <code>aetherium token sign-in --role operator</code>
        </p>
      </form>
    </main>
  );
}
