// Bytes and base64.

export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const characters = atob(text);
  const data = new Uint8Array(characters.length);
  for (let i = 0; i < data.length; i++) data[i] = characters.charCodeAt(i);
  return data;
}

/** The same bytes as a plain Uint8Array: Node's Buffer is one whose `slice` does not copy. */
export function plain(data: Uint8Array): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
