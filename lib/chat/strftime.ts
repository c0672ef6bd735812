/** `strftime_now` of chat templates: Python's strftime in the C locale, of the local time. */
const months = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];
const days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

const pad = (n: number, width = 2): string => String(n).padStart(width, "0");

function dayOfYear(date: Date): number {
  return Math.round(
    (Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 0)) / 86_400_000,
  );
}

const fields: Record<string, (date: Date) => string> = {
  Y: (d) => String(d.getFullYear()),
  y: (d) => pad(d.getFullYear() % 100),
  m: (d) => pad(d.getMonth() + 1),
  B: (d) => months[d.getMonth()] as string,
  b: (d) => (months[d.getMonth()] as string).slice(0, 3),
  d: (d) => pad(d.getDate()),
  e: (d) => String(d.getDate()).padStart(2, " "),
  j: (d) => pad(dayOfYear(d), 3),
  A: (d) => days[d.getDay()] as string,
  a: (d) => (days[d.getDay()] as string).slice(0, 3),
  H: (d) => pad(d.getHours()),
  I: (d) => pad(d.getHours() % 12 || 12),
  p: (d) => (d.getHours() < 12 ? "AM" : "PM"),
  M: (d) => pad(d.getMinutes()),
  S: (d) => pad(d.getSeconds()),
  F: (d) => `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())}`,
  T: (d) => `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}`,
  "%": () => "%",
};

/** Unknown fields stay as they are. */
export function strftime(date: Date, format: string): string {
  return format.replace(/%([A-Za-z%])/g, (whole, letter: string) => fields[letter]?.(date) ?? whole);
}
