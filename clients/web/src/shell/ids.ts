/** Unguessable. `crypto.randomUUID` is not there on pages without TLS, such as those on a factory's network. */
export const newId = (): string => crypto.getRandomValues(new Uint32Array(4)).join("-");
