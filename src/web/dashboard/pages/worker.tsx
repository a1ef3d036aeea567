export default function Worker() {
  return <header class="page-head"><h1>Worker</h1></header>;
}
