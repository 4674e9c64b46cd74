import { useState } from "react";
import { useWords } from "../shell/words";
import { Filters } from "./filters";
import { Pages } from "./pages";
import { query, usePolled, useSettled } from "./polled";
import { Standing } from "./standing";
import type { Rooms as Found } from "./types";
import { WORDS } from "./words";

const LIMIT = 50;
const EVERY_MS = 3000;

export function Rooms() {
  const t = useWords(WORDS);
  const [{ text, namespace }, setNarrowed] = useState({ text: "", namespace: "" });
  const [offset, setOffset] = useState(0);
  const q = useSettled(text.trim());
  const { value, fault } = usePolled<Found>(
    `/api/admin/rooms${query({ namespace, q, sort: "members", descending: true, offset, limit: LIMIT })}`,
    EVERY_MS,
  );
  return (
    <>
      <Filters
        label={t.roomSearch}
        text={text}
        namespace={namespace}
        onChange={(found) => {
          setNarrowed((now) => ({ ...now, ...found }));
          setOffset(0);
        }}
      />
      <Standing fault={fault} silent={value?.silent} />
      <div className="card admin-list">
        {value?.total === 0 && <p className="empty">{t.none}</p>}
        {value !== null && value.total > 0 && (
          <div className="table-frame">
            <table>
              <thead>
                <tr>
                  <th>{t.namespace}</th>
                  <th>{t.kind}</th>
                  <th>{t.room}</th>
                  <th>{t.tenant}</th>
                  <th className="number">{t.members}</th>
                  <th>{t.nodes}</th>
                </tr>
              </thead>
              <tbody>
                {value.rooms.map((each) => (
                  <tr key={each.namespace + each.room}>
                    <td>
                      <code>{each.namespace}</code>
                    </td>
                    <td>{each.kind}</td>
                    <td className="wrap">
                      <a href={`#connections${query({ namespace: each.namespace, room: each.room })}`}>
                        {each.name || each.kind}
                      </a>
                    </td>
                    <td>{each.tenant ?? "–"}</td>
                    <td className="number">{each.members}</td>
                    <td className="small">
                      {Object.entries(each.nodes)
                        .map(([node, members]) => (node ? `${node}: ${members}` : ""))
                        .join(", ")}
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
        shown={value?.rooms.length ?? 0}
        total={value?.total ?? 0}
        limit={LIMIT}
        onOffset={setOffset}
      />
    </>
  );
}
