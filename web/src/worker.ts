// The worker's side of `engine.ts`.

import type { Picture } from "./decoder.js";
import { LocalEngine, type Reply, type Request } from "./engine.js";

const scope = globalThis as unknown as {
  onmessage: (event: MessageEvent<Request>) => void;
  postMessage(reply: Reply, transfer?: Transferable[]): void;
};
const engine = new LocalEngine();

scope.onmessage = ({ data }) => void answer(data);

async function answer(request: Request): Promise<void> {
  const { id } = request;
  const partial = (picture: Picture): void => scope.postMessage({ id, partial: picture }, [picture.data.buffer]);
  try {
    if ("model" in request) {
      await engine.addModel(request.model);
      return scope.postMessage({ id, known: true });
    }
    const picture = await engine.decode(request.job, request.partial ? partial : undefined);
    scope.postMessage({ id, picture }, [picture.data.buffer]);
  } catch (error) {
    const { name, message } = error instanceof Error ? error : new Error(String(error));
    scope.postMessage({ id, error: { name, message } });
  }
}
