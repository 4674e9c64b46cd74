import { useState } from "react";
import { dayAndClock } from "../shell/times";
import { useLanguage, useWords } from "../shell/words";
import { Filters } from "./filters";
import { bytes } from "./formats";
import { Inspect } from "./inspect";
import { Pages } from "./pages";
import { query, usePolled, useSettled } from "./polled";
import { Standing } from "./standing";
import type { Connections as Found } from "./types";
import { WORDS } from "./words";

const LIMIT = 50;
const EVERY_MS = 3000;
const ORDERS = {
  newest: { sort: "connected_at", descending: true },
  oldest: { sort: "connected_at", descending: false },
  outbox: { sort: "outbox_bytes", descending: true },
  peak: { sort: "peak_bytes", descending: true },
  user: { sort: "user_id", descending: false },
} as const;

export function Connections({ fields }: { fields: URLSearchParams }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const [{ text, namespace }, setNarrowed] = useState({
    text: fields.get("q") ?? "",
    namespace: fields.get("namespace") ?? "",
  });
  const [room] = useState(fields.get("room") ?? "");
  const [node] = useState(fields.get("node") ?? "");
  const [slow, setSlow] = useState(false);
  const [order, setOrder] = useState<keyof typeof ORDERS>("newest");
  const [offset, setOffset] = useState(0);
  const [inspected, setInspected] = useState<string | null>(fields.get("id"));
  const q = useSettled(text.trim());
  const path = `/api/admin/connections${query({ namespace, q, room, node, slow, ...ORDERS[order], offset, limit: LIMIT })}`;
  const { value, fault, again } = usePolled<Found>(path, EVERY_MS);
  const from =
    <T,>(set: (value: T) => void) =>
    (value: T) => {
      set(value);
      setOffset(0);
    };
  const narrow = from((found: { text?: string; namespace?: string }) => setNarrowed((now) => ({ ...now, ...found })));

  return (
    <>
      <Filters label={t.search} text={text} namespace={namespace} onChange={narrow}>
        <label>
          {t.sort}
          <select value={order} onChange={(event) => from(setOrder)(event.target.value as keyof typeof ORDERS)}>
            {(Object.keys(ORDERS) as (keyof typeof ORDERS)[]).map((name) => (
              <option key={name} value={name}>
                {t[name]}
              </option>
            ))}
          </select>
        </label>
        <label className="inline">
          <input type="checkbox" checked={slow} onChange={(event) => from(setSlow)(event.target.checked)} />
          {t.onlySlow}
        </label>
        {(room || node) && (
          <a className="button small" href="#connections">
            {room || node} ✕
          </a>
        )}
      </Filters>
      <Standing fault={fault} silent={value?.silent} />
      <div className="card admin-list">
        {value?.total === 0 && <p className="empty">{t.none}</p>}
        {value !== null && value.total > 0 && (
          <div className="table-frame">
            <table>
              <thead>
                <tr>
                  <th>{t.user}</th>
                  <th>{t.namespace}</th>
                  <th>{t.door}</th>
                  <th>{t.address}</th>
                  <th>{t.connectedSince}</th>
                  <th className="number">{t.inRooms}</th>
                  <th className="number">{t.waiting}</th>
                  <th className="number">{t.peak}</th>
                  <th>{t.node}</th>
                  <th>
                    <span className="quiet">{t.inspect}</span>
                  </th>
                </tr>
              </thead>
              <tbody>
                {value.connections.map((each) => (
                  <tr key={each.connection_id}>
                    <td>
                      <div className="clip admin-id" title={each.user_id}>
                        {each.user_id}
                      </div>
                    </td>
                    <td>
                      <code>{each.namespace}</code>
                    </td>
                    <td className="small">
                      {each.door} <span className="muted">{each.transport}</span>
                    </td>
                    <td>
                      <div className="clip admin-address">{each.address}</div>
                    </td>
                    <td className="small">{dayAndClock(each.connected_at, language)}</td>
                    <td className="number">{each.rooms}</td>
                    <td className="number">{bytes(each.outbox.bytes)}</td>
                    <td className="number">{bytes(each.outbox.peak_bytes)}</td>
                    <td>
                      <code>{each.node || "–"}</code>
                    </td>
                    <td>
                      <button
                        type="button"
                        className="small"
                        aria-label={`${t.inspect}: ${each.user_id} ${each.namespace}`}
                        onClick={() => setInspected(each.connection_id)}
                      >
                        {t.inspect}
                      </button>
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </div>
      <Pages
        offset={offset}
        shown={value?.connections.length ?? 0}
        total={value?.total ?? 0}
        limit={LIMIT}
        onOffset={setOffset}
      />
      {inspected && (
        <Inspect
          id={inspected}
          onClose={() => {
            setInspected(null);
            again();
          }}
        />
      )}
    </>
  );
}
