import { useId } from "react";

interface Props<T> {
  readonly label: string;
  readonly choices: readonly T[];
  readonly chosen: T;
  readonly onChoose: (choice: T) => void;
  readonly word: (choice: T) => string;
}

/** One of a few, as buttons in a row: radio buttons to the keyboard and to screen readers. */
export function Choice<T extends string | number>({ label, choices, chosen, onChoose, word }: Props<T>) {
  const name = useId();
  return (
    <fieldset className="trading-choice">
      <legend className="quiet">{label}</legend>
      {choices.map((each) => (
        <label key={each} className="small">
          <input type="radio" name={name} checked={each === chosen} onChange={() => onChoose(each)} />
          {word(each)}
        </label>
      ))}
    </fieldset>
  );
}
