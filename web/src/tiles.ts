// Large pictures in tiles: where a network is to run, and what it must be given there (spec 8.4).

/** Rows top..bottom - 1 and columns left..right - 1 of a grid. */
export interface Area {
  top: number;
  left: number;
  bottom: number;
  right: number;
}

/** inner: what is to be known; outer: what a network must see for that. */
export interface Tile {
  inner: Area;
  outer: Area;
}

interface Span {
  start: number;
  stop: number;
}

/**
 * Tiles of at most `side` x `side` places that cover all that is wanted of a grid. Each is the smallest box around what is
 * wanted of an even share of the grid; `outer` has `reach` places more on every side, as far as the grid has them, and
 * starts at an even row and column, as the passes of the context ask.
 */
export function tiles(wanted: (row: number, column: number) => boolean, height: number, width: number, reach: number, side: number): Tile[] {
  const found: Tile[] = [];
  for (const rows of shares(height, side))
    for (const columns of shares(width, side)) {
      const inner = box(wanted, rows, columns);
      if (inner) found.push({ inner, outer: widened(inner, height, width, reach) });
    }
  return found;
}

/** How many places an area has, down and across. */
export function sizeOf(area: Area): { h: number; w: number } {
  return { h: area.bottom - area.top, w: area.right - area.left };
}

/** The area with `reach` places more on every side, as far as the grid has them, from an even row and column on. */
export function widened(area: Area, height: number, width: number, reach: number): Area {
  const even = (place: number): number => Math.max(0, place - reach) & ~1;
  return {
    top: even(area.top),
    left: even(area.left),
    bottom: Math.min(area.bottom + reach, height),
    right: Math.min(area.right + reach, width),
  };
}

function shares(size: number, side: number): Span[] {
  const even = Math.ceil(size / Math.ceil(size / side));
  const length = even + (even % 2);
  return Array.from({ length: Math.ceil(size / length) }, (_, i) => ({ start: i * length, stop: Math.min((i + 1) * length, size) }));
}

function box(wanted: (row: number, column: number) => boolean, rows: Span, columns: Span): Area | null {
  let area: Area | null = null;
  for (let row = rows.start; row < rows.stop; row++)
    for (let column = columns.start; column < columns.stop; column++) {
      if (!wanted(row, column)) continue;
      area ??= { top: row, left: column, bottom: row + 1, right: column + 1 };
      area.left = Math.min(area.left, column);
      area.right = Math.max(area.right, column + 1);
      area.bottom = row + 1;
    }
  return area;
}
