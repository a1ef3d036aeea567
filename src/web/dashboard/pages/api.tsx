export default function Api() {
  return <header class="page-head"><h1>API</h1></header>;
}
