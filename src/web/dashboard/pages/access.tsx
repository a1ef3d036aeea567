export default function Access() {
  return <header class="page-head"><h1>Access</h1></header>;
}
