export default function Fleet() {
  return <header class="page-head"><h1>Fleet</h1></header>;
}
