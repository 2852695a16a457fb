import { createApp, onScopeDispose, shallowRef } from "vue";
import { connect } from "mainstay-ui";
import "mainstay-ui/elements";

function useStore() {
  const client = connect();
  const state = shallowRef(client.store.getState());
  const stop = client.store.subscribe(() => (state.value = client.store.getState()));
  onScopeDispose(() => (stop(), client.release()));
  return { client, state };
}

const app = createApp({
  setup: useStore,
  template: `
    <mainstay-connection-status />
    <p>{{ state.isLive ? state.connection?.state : "connecting" }}</p>
    <ul :aria-busy="!state.isLive">
      <li v-for="(agent, id) in state.agents" :key="id">
        {{ id }}: {{ agent.status }} <button @click="client.agent(id).restart()">Restart {{ id }}</button>
      </li>
    </ul>`,
});
app.config.compilerOptions.isCustomElement = (tag) => tag.startsWith("mainstay-");
app.mount("#app");
