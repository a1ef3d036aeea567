export default function Events() {
  return <header class="page-head"><h1>Events</h1></header>;
}
