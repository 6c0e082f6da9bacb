// What a page that holds its files, the models and this code has to say before anything is decoded.

import { fromBase64 } from "../src/bytes.js";
import { addModel, configure } from "../src/index.js";

const code = document.getElementById("obic-worker")!.textContent!;
configure({ worker: new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" }))) });
for (const model of document.querySelectorAll(".obic-model")) void addModel(fromBase64(model.textContent!));
