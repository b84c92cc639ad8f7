/** States as a few bytes each, found again by hash: millions of them fit into memory. */

export interface Field {
  name: string;
  /** Values are 0 to this, included. */
  max: number;
}

/** Packs an array of small numbers into 32-bit words, field by field. */
export class Layout {
  readonly words: number;
  readonly size: number;
  readonly #places: { word: number; shift: number; mask: number }[] = [];

  constructor(fields: readonly Field[]) {
    let word = 0;
    let shift = 0;
    for (const { max } of fields) {
      const bits = Math.max(1, 32 - Math.clz32(max));
      if (shift + bits > 32) {
        word += 1;
        shift = 0;
      }
      this.#places.push({ word, shift, mask: 2 ** bits - 1 });
      shift += bits;
    }
    this.words = word + 1;
    this.size = fields.length;
  }

  pack(values: Uint8Array, into: Uint32Array): void {
    into.fill(0);
    const places = this.#places;
    for (let index = 0; index < places.length; index += 1) {
      const place = places[index] as { word: number; shift: number; mask: number };
      into[place.word] = ((into[place.word] as number) | ((values[index] as number) << place.shift)) >>> 0;
    }
  }

  unpack(words: Uint32Array, from: number, into: Uint8Array): void {
    const places = this.#places;
    for (let index = 0; index < places.length; index += 1) {
      const place = places[index] as { word: number; shift: number; mask: number };
      into[index] = ((words[from + place.word] as number) >>> place.shift) & place.mask;
    }
  }
}

/** A set of packed states, each with a number in the order of discovery and the number of the state that it was found from. */
export class StateSet {
  count = 0;
  readonly #words: number;
  #states: Uint32Array;
  #parents: Int32Array;
  #table: Int32Array;

  constructor(words: number, capacity = 1 << 16) {
    this.#words = words;
    this.#states = new Uint32Array(capacity * words);
    this.#parents = new Int32Array(capacity);
    this.#table = new Int32Array(capacity * 4);
  }

  get states(): Uint32Array {
    return this.#states;
  }

  parent(index: number): number {
    return this.#parents[index] ?? -1;
  }

  /** The state's number; negative (-number - 1) where it was there already. */
  add(packed: Uint32Array, parent: number): number {
    if ((this.count + 1) * this.#words > this.#states.length) this.#grow();
    const mask = this.#table.length - 1;
    let place = hash(packed) & mask;
    for (;;) {
      const found = this.#table[place] as number;
      if (found === 0) break;
      if (this.#equals(found - 1, packed)) return -found;
      place = (place + 1) & mask;
    }
    const index = this.count;
    this.count += 1;
    this.#table[place] = index + 1;
    this.#states.set(packed, index * this.#words);
    this.#parents[index] = parent;
    return index;
  }

  #equals(index: number, packed: Uint32Array): boolean {
    const from = index * this.#words;
    for (let word = 0; word < this.#words; word += 1)
      if (this.#states[from + word] !== packed[word]) return false;
    return true;
  }

  #grow(): void {
    const capacity = this.#parents.length * 2;
    const states = new Uint32Array(capacity * this.#words);
    states.set(this.#states);
    const parents = new Int32Array(capacity);
    parents.set(this.#parents);
    const table = new Int32Array(capacity * 4);
    const mask = table.length - 1;
    for (let index = 0; index < this.count; index += 1) {
      let place = hash(states.subarray(index * this.#words, (index + 1) * this.#words)) & mask;
      while (table[place] !== 0) place = (place + 1) & mask;
      table[place] = index + 1;
    }
    this.#states = states;
    this.#parents = parents;
    this.#table = table;
  }
}

function hash(packed: Uint32Array): number {
  let h = 0x9e3779b9;
  for (let index = 0; index < packed.length; index += 1) {
    h = Math.imul(h ^ (packed[index] as number), 0x85ebca6b);
    h = (h ^ (h >>> 13)) >>> 0;
  }
  h = Math.imul(h, 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** Numbers of which there are too many for an array of objects. */
export class Numbers {
  length = 0;
  #values = new Int32Array(1 << 16);

  push(value: number): void {
    if (this.length === this.#values.length) {
      const values = new Int32Array(this.#values.length * 2);
      values.set(this.#values);
      this.#values = values;
    }
    this.#values[this.length] = value;
    this.length += 1;
  }

  at(index: number): number {
    return this.#values[index] as number;
  }
}
