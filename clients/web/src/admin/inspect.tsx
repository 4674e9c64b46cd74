import { useState } from "react";
import { Dialog } from "../shell/dialog";
import { request } from "../shell/http";
import { dayAndClock } from "../shell/times";
import { tell, tellError } from "../shell/toasts";
import { useLanguage, useWords } from "../shell/words";
import { bytes } from "./formats";
import { query, usePolled } from "./polled";
import { Record } from "./record";
import { Standing } from "./standing";
import type { Inspected, Silent } from "./types";
import { WORDS } from "./words";

interface Ended extends Partial<Silent> {
  readonly disconnected: number;
}

const EVERY_MS = 2000;
const USERS = "/api/admin/users/";

/** One connection: who, where, what waits, what happened; and the ways to end it. */
export function Inspect({ id, onClose }: { id: string; onClose: () => void }) {
  const t = useWords(WORDS);
  const [language] = useLanguage();
  const path = `/api/admin/connections/${encodeURIComponent(id)}`;
  const { value, fault, again } = usePolled<Inspected>(path, EVERY_MS);
  const [ending, setEnding] = useState<string | null>(null);

  const end = (reason: string) => {
    const tenant = ending?.startsWith(USERS) && value?.tenant; // in another, or in none, it is somebody else's id
    const body = { ...(reason && { reason }), ...(tenant && { tenant }) };
    void request<Ended>(ending as string, { body }).then(({ disconnected, silent = [] }) => {
      tell(t.disconnected(disconnected), "good");
      if (silent.length > 0) tell(t.unreached(silent.join(", ")), "bad");
      again();
    }, tellError);
    setEnding(null);
  };

  const facts: [string, string][] = value
    ? [
        [
          t.state,
          value.state === "gone"
            ? `${t.gone}: ${value.reason ?? ""}`
            : `${t.here}${value.recovered ? `, ${t.recoveredOne}` : ""}`,
        ],
        [t.user, value.user_id],
        [t.tenant, value.tenant ?? "–"],
        [t.roles, value.roles.join(", ") || "–"],
        [t.namespace, value.namespace],
        [t.door, `${value.door} (${value.transport})`],
        [t.address, value.address],
        [t.node, value.node || "–"],
        [t.connectedSince, dayAndClock(value.connected_at, language)],
        [t.token, value.token_expires_at ? dayAndClock(value.token_expires_at, language) : "–"],
        [
          t.outbox,
          value.outbox
            ? `${value.outbox.messages} · ${bytes(value.outbox.bytes)}; ${t.peak} ${value.outbox.peak_messages} · ${bytes(value.outbox.peak_bytes)}; ${t.conflated} ${value.outbox.conflated}; ${t.dropped} ${value.outbox.dropped}`
            : "–",
        ],
      ]
    : [];

  return (
    <Dialog title={`${t.connection} ${id}`} onClose={onClose}>
      <div className="stack admin-inspect-body">
        <Standing fault={fault} />
        <dl className="admin-facts">
          {facts.map(([name, told]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{told}</dd>
            </div>
          ))}
        </dl>
        {value && value.rooms.length > 0 && (
          <>
            <h3>{t.inRooms}</h3>
            <div className="row">
              {value.rooms.map((each) => (
                <a key={each.room} className="badge wrap" href={`#missed${query({ connection: id, room: each.room })}`}>
                  {each.kind} {each.name}
                </a>
              ))}
            </div>
          </>
        )}
        <h3>{t.record}</h3>
        {value && value.record_lost > 0 && <p className="small muted">{t.lostRecord(value.record_lost)}</p>}
        {value &&
          (value.record.length === 0 ? <p className="muted">{t.noRecord}</p> : <Record entries={value.record} />)}
        <footer>
          <a className="button" href={`#missed${query({ connection: id })}`}>
            {t.whyMissed}
          </a>
          {value && (
            <button
              type="button"
              className="danger"
              onClick={() => setEnding(`${USERS}${encodeURIComponent(value.user_id)}/disconnect`)}
            >
              {t.disconnectUser}
            </button>
          )}
          {value?.state === "connected" && (
            <button type="button" className="danger" onClick={() => setEnding(`${path}/disconnect`)}>
              {t.disconnect}
            </button>
          )}
          <button type="button" onClick={onClose}>
            {t.close}
          </button>
        </footer>
      </div>
      {ending && value && <End who={value.user_id} onEnd={end} onClose={() => setEnding(null)} />}
    </Dialog>
  );
}

function End({ who, onEnd, onClose }: { who: string; onEnd: (reason: string) => void; onClose: () => void }) {
  const t = useWords(WORDS);
  const [reason, setReason] = useState("");
  return (
    <Dialog title={t.sure} onClose={onClose}>
      <div className="stack">
        <p className="wrap">{t.sureText(who)}</p>
        <label>
          {t.reasonFor}
          <input value={reason} maxLength={200} onChange={(event) => setReason(event.target.value)} />
        </label>
        <footer>
          <button type="button" onClick={onClose}>
            {t.cancel}
          </button>
          <button type="button" className="danger" onClick={() => onEnd(reason.trim())}>
            {t.disconnect}
          </button>
        </footer>
      </div>
    </Dialog>
  );
}
