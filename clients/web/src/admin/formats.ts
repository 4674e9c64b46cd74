export const bytes = (count: number | null | undefined): string => {
  if (count === null || count === undefined) return "–";
  const units = ["B", "KB", "MB", "GB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log(Math.max(count, 1)) / Math.log(1024)));
  const value = count / 1024 ** power;
  return `${value.toFixed(power === 0 || value >= 100 ? 0 : 1)} ${units[power]}`;
};

export const milliseconds = (value: number | null | undefined): string =>
  value === null || value === undefined ? "–" : `${value.toFixed(value < 10 ? 1 : 0)} ms`;

export const whole = (value: number | null | undefined): string =>
  value === null || value === undefined ? "–" : Math.round(value).toLocaleString();
