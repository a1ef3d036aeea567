export default function Drains() {
  return <header class="page-head"><h1>Drains</h1></header>;
}
