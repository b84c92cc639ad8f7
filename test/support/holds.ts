import type { Json } from '../../src/domain/json.ts';
import type { Secret } from '../../src/domain/secret.ts';

/** Could a value of this type hold a Secret, at any depth? Plain JSON cannot: a Secret is no record of JSON values. */
export type Holds<T> = [T] extends [never]
  ? false
  : Secret extends T
    ? true
    : [T] extends [Json | undefined]
      ? false
      : T extends (...args: never[]) => unknown
        ? true
        : T extends readonly (infer Member)[]
          ? Holds<Member>
          : T extends object
            ? true extends { [K in keyof T]-?: Holds<T[K]> }[keyof T]
              ? true
              : false
            : false;

/** Of an interface: the methods that could be given one. */
export type Takers<T> = {
  [K in keyof T]-?: T[K] extends (...args: infer Given) => unknown
    ? true extends Holds<Given[number]>
      ? K
      : never
    : never;
}[keyof T];
