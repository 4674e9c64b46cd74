/** Boxes that fill a screen: as many columns as make them largest, none where they would be too small to read. */
import { type RefObject, useLayoutEffect, useState } from "react";

const GAP = 10; // as in the style sheet
const LEAST = { width: 132, height: 96 };
const SHAPE = 1.25; // of a box that is good to read, width by height

export const columnsFor = (count: number, width: number, height: number): number | null => {
  let best: { columns: number; size: number } | null = null;
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const box = { width: (width - GAP * (columns - 1)) / columns, height: (height - GAP * (rows - 1)) / rows };
    if (box.width < LEAST.width || box.height < LEAST.height) continue;
    const size = Math.min(box.width / SHAPE, box.height);
    if (best === null || size > best.size) best = { columns, size };
  }
  return best?.columns ?? null;
};

/** Null: it scrolls, as where boxes would be too small, and on phones. */
export const useColumns = (element: RefObject<HTMLElement | null>, count: number): number | null => {
  const [size, setSize] = useState<{ width: number; height: number } | null>(null);
  useLayoutEffect(() => {
    const shown = element.current;
    if (!shown) return;
    const fills = matchMedia("(min-width: 901px) and (min-height: 480px)");
    const measure = () => {
      const wall = document.documentElement.dataset.wall !== undefined;
      const { paddingLeft, paddingRight, paddingTop, paddingBottom } = getComputedStyle(shown);
      const width = shown.clientWidth - Number.parseFloat(paddingLeft) - Number.parseFloat(paddingRight);
      const height = shown.clientHeight - Number.parseFloat(paddingTop) - Number.parseFloat(paddingBottom);
      setSize(fills.matches || wall ? { width, height } : null);
    };
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(shown);
    return () => observer.disconnect();
  }, [element]);
  return size && columnsFor(count, size.width, size.height);
};
