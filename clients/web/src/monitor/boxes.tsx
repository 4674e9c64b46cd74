import { type KeyboardEvent, memo, useRef, useState } from "react";
import { span } from "../shell/times";
import { useLanguage, useWords } from "../shell/words";
import { useColumns } from "./fill";
import { between, moment } from "./moments";
import type { Link, Machine } from "./plant";
import { percent } from "./shares";
import { Shape } from "./status";
import { WORDS } from "./words";

const ARROWS: Record<string, "previous" | "next" | "up" | "down" | "first" | "last"> = {
  ArrowLeft: "previous",
  ArrowRight: "next",
  ArrowUp: "up",
  ArrowDown: "down",
  Home: "first",
  End: "last",
};

interface Props {
  machines: readonly Machine[];
  link: Link;
  now: string | null;
  /** Codes of machines with an alarm that nobody has acknowledged. */
  urgent: ReadonlySet<string>;
  /** By code: the share of this shift in which it ran. */
  shares: ReadonlyMap<string, number>;
  onOpen: (code: string) => void;
}

/** One stop for Tab; arrow keys go from box to box. */
export function Boxes({ machines, link, now, urgent, shares, onOpen }: Props) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const list = useRef<HTMLUListElement>(null);
  const [current, setCurrent] = useState<string | null>(null);
  const columns = useColumns(list, machines.length);
  const known = link === "live" || link === "connecting";
  const stop = machines.some(({ code }) => code === current) ? current : machines[0]?.code;

  const pressed = (event: KeyboardEvent<HTMLUListElement>) => {
    const way = ARROWS[event.key];
    const boxes = [...(list.current?.querySelectorAll("button") ?? [])];
    const at = boxes.indexOf(document.activeElement as HTMLButtonElement);
    if (!way || at < 0) return;
    event.preventDefault();
    const across = boxes.filter((box) => box.offsetTop === boxes[0]?.offsetTop).length;
    const steps = {
      previous: at - 1,
      next: at + 1,
      up: at - across,
      down: at + across,
      first: 0,
      last: boxes.length - 1,
    };
    boxes[steps[way]]?.focus();
  };

  return (
    <ul
      ref={list}
      className="monitor-boxes"
      aria-label={t.machines}
      data-link={link}
      data-fills={columns !== null}
      style={columns === null ? undefined : { gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))` }}
      onKeyDown={pressed}
    >
      {machines.map((machine) => (
        <Box
          key={machine.code}
          machine={machine}
          time={machine.since && moment(machine.since, now, language)}
          long={known && machine.since && now ? short(between(machine.since, now), language) : null}
          urgent={known && urgent.has(machine.code)}
          share={shares.get(machine.code)}
          stop={machine.code === stop}
          onOpen={onOpen}
          onFocus={setCurrent}
        />
      ))}
    </ul>
  );
}

const MINUTE = 60_000;

/** Seconds only in the first minute: a wall of ticking numbers is hard to look at. */
const short = (milliseconds: number, language: "en" | "ko"): string =>
  span(milliseconds < MINUTE ? milliseconds : Math.floor(milliseconds / MINUTE) * MINUTE, language);

interface BoxProps {
  machine: Machine;
  time: string | null;
  long: string | null;
  urgent: boolean;
  share: number | undefined;
  stop: boolean;
  onOpen: (code: string) => void;
  onFocus: (code: string) => void;
}

const Box = memo(function Box({ machine, time, long, urgent, share, stop, onOpen, onFocus }: BoxProps) {
  const t = useWords(WORDS);
  const { code, name, status, quality } = machine;
  const old = status !== "disconnected" && quality !== "good";
  const said = [
    name,
    t[status],
    time ? t.sinceTime(time) : t.sinceUnknown,
    ...(urgent ? [t.alarmOpen] : []),
    ...(old ? [t[quality]] : []),
    code,
  ];
  return (
    <li>
      <button
        type="button"
        className="monitor-box"
        data-status={status}
        data-urgent={urgent}
        tabIndex={stop ? 0 : -1}
        title={`${name}\n${code}`}
        aria-label={said.join(", ")}
        onClick={() => onOpen(code)}
        onFocus={() => onFocus(code)}
      >
        <span className="monitor-box-status">
          <Shape status={status} />
          <span className="clip">{t[status]}</span>
          {urgent && <Bell />}
        </span>
        <span className="monitor-box-name">
          <span className="monitor-box-text">{name}</span>
        </span>
        <span className="monitor-box-foot">
          <span className="clip monitor-box-since">
            {time === null ? "—" : long === null ? t.sinceTime(time) : t.since(time, long)}
          </span>
          <span className="clip monitor-box-code">
            {old && <b className="monitor-box-old">{t[quality]}</b>}
            {code}
          </span>
        </span>
        <span className="monitor-box-share" title={share === undefined ? undefined : t.thisShift(percent(share))}>
          {share !== undefined && <i style={{ width: `${share * 100}%` }} />}
        </span>
      </button>
    </li>
  );
});

const Bell = () => (
  <svg className="monitor-bell" viewBox="0 0 24 24" aria-hidden="true" fill="currentColor">
    <path d="M12 2a6.5 6.5 0 0 0-6.5 6.5V14L3 17.5V19h18v-1.5L18.5 14V8.5A6.5 6.5 0 0 0 12 2zM9.5 20.5a2.5 2.5 0 0 0 5 0z" />
  </svg>
);
