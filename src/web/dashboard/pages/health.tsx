export default function Health() {
  return <header class="page-head"><h1>Health</h1></header>;
}
