/** A search's highlight is HTML of one kind: escaped text with `<mark>`. It is read here into text, and never set as HTML. */

export interface Part {
  readonly text: string;
  readonly marked: boolean;
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&amp;": "&",
  "&lt;": "<",
  "&gt;": ">",
  "&quot;": '"',
  "&#x27;": "'",
  "&#39;": "'",
};
const plain = (html: string): string =>
  html.replace(/&(?:amp|lt|gt|quot|#x27|#39);/g, (entity) => ENTITIES[entity] ?? entity);

export const parts = (highlight: string): Part[] => {
  const found: Part[] = [];
  let marked = false;
  for (const piece of highlight.split(/(<\/?mark>)/)) {
    if (piece === "<mark>") marked = true;
    else if (piece === "</mark>") marked = false;
    else if (piece !== "") found.push({ text: plain(piece), marked });
  }
  return found;
};
