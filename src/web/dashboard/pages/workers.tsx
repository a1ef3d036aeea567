export default function Workers() {
  return <header class="page-head"><h1>Workers</h1></header>;
}
