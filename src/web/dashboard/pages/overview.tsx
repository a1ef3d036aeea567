export default function Overview() {
  return <header class="page-head"><h1>Overview</h1></header>;
}
