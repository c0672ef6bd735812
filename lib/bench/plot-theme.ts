/**
 * Colours of the plots. A plot is drawn in the light ones and has its own background; a style sheet in it swaps the neutral
 * colours where the viewer prefers a dark theme.
 */

/** Light colours and the ones that take their place in a dark theme. */
export const ink = { light: "#1f2328", dark: "#e6edf3" };
export const faint = { light: "#59636f", dark: "#9198a1" };
export const line = { light: "#d1d9e1", dark: "#3d444d" };
export const paper = { light: "#fffffe", dark: "#0d1117" };
/** Of engines or curves, in order; legible on both papers. */
export const palette = ["#1b9e83", "#8b98a9", "#d08a2e", "#7a76c2", "#c2567a", "#4a90c4", "#9c6b4a"];

/** The drawn SVG with that style sheet. */
export function themed(svg: string): string {
  const swaps = [ink, faint, line, paper].flatMap(({ light, dark }) =>
    ["fill", "stroke"].map((name) => `[${name}="${light}"]{${name}:${dark}}`),
  );
  const style = `<style>@media (prefers-color-scheme:dark){${swaps.join("")}}</style>`;
  return `${svg.replace(/^<svg[^>]*>/, (tag) => `${tag}\n${style}`)}\n`;
}
