export default function Vms() {
  return <header class="page-head"><h1>VMs</h1></header>;
}
