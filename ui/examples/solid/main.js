import { createSignal, For, onCleanup } from "solid-js";
import html from "solid-js/html";
import { render } from "solid-js/web";
import { connect } from "mainstay-ui";
import "mainstay-ui/elements";

function App() {
  const client = connect();
  const [state, setState] = createSignal(client.store.getState());
  const stop = client.store.subscribe(() => setState(client.store.getState()));
  onCleanup(() => (stop(), client.release()));
  const restart = (id) => () => client.agent(id).restart();
  return html`
    <mainstay-connection-status></mainstay-connection-status>
    <p>${() => (state().isLive ? state().connection?.state : "connecting")}</p>
    <ul aria-busy=${() => String(!state().isLive)}>
      <${For} each=${() => Object.values(state().agents)}>
        ${(agent) => html`<li>${agent.id}: ${agent.status} <button onClick=${restart(agent.id)}>Restart ${agent.id}</button></li>`}
      <//>
    </ul>`;
}

render(App, document.getElementById("app"));
