export default function Capacity() {
  return <header class="page-head"><h1>Capacity</h1></header>;
}
