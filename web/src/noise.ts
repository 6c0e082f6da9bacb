// The noise that a look other than the faithful one is given: numpy's default_rng(0), the same on every machine.
//
// The generator is PCG64 (O'Neill 2014, "XSL RR"); its state after seeding with 0 is written down here.

const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;
const INCREMENT = 87136372517582989555478159403783844777n;
const START = 35399562948360463058890781895381311971n;

/** Planes of so many numbers in -1..1. */
export function noise(planes: number, size: number): Float32Array[] {
  const numbers = new Float32Array(planes * size);
  let state = START;
  for (let i = 0; i < numbers.length; i += 2) {
    state = BigInt.asUintN(128, state * MULTIPLIER + INCREMENT);
    const mixed = (state >> 64n) ^ BigInt.asUintN(64, state);
    const turn = state >> 122n;
    const bits = (mixed >> turn) | BigInt.asUintN(64, mixed << (64n - turn));
    numbers[i] = unit(Number(bits & 0xffffffffn));
    if (i + 1 < numbers.length) numbers[i + 1] = unit(Number(bits >> 32n));
  }
  return Array.from({ length: planes }, (_, k) => numbers.subarray(k * size, (k + 1) * size));
}

function unit(bits: number): number {
  return ((bits >>> 8) / 2 ** 24) * 2 - 1;
}
