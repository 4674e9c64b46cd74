import "./base.css";
import { Component, type ReactNode } from "react";
import { createRoot } from "react-dom/client";
import { Frame, type PageName } from "./frame";
import { usePerson } from "./identity";
import { useWords } from "./words";

const AGAIN_MS = 10_000;

/** A fault of ours, or of what the server told, costs the page's content and not its frame, and not for good: nobody may
 * stand before a wall display. */
class Guard extends Component<{ children: ReactNode }, { fault: string | null }> {
  override state = { fault: null };
  #timer: ReturnType<typeof setTimeout> | undefined;
  static getDerivedStateFromError = (error: unknown) => ({ fault: String(error) });

  override componentDidCatch() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#again, AGAIN_MS);
  }

  override componentWillUnmount() {
    clearTimeout(this.#timer);
  }

  #again = () => {
    clearTimeout(this.#timer);
    this.setState({ fault: null });
  };

  override render() {
    return this.state.fault === null ? this.props.children : <Broken fault={this.state.fault} onAgain={this.#again} />;
  }
}

function Broken({ fault, onAgain }: { fault: string; onAgain: () => void }) {
  const t = useWords({
    en: { broken: "This page has a fault. It tries again by itself.", again: "Try again" },
    ko: { broken: "페이지에 오류가 생겼습니다. 잠시 후 자동으로 다시 시도합니다.", again: "다시 시도" },
  });
  return (
    <div className="frame-page stack">
      <div className="note bad" role="alert">
        {t.broken}
      </div>
      <pre className="small muted">{fault.slice(0, 300)}</pre>
      <p>
        <button type="button" onClick={onAgain}>
          {t.again}
        </button>
      </p>
    </div>
  );
}

/** Another person is another page: nothing of the one before is kept. */
function Whole({ page, open, content }: { page: PageName; open: boolean; content: ReactNode }) {
  const person = usePerson();
  return (
    <Frame page={page} open={open}>
      <Guard key={person === null ? "" : `${person.tenant}/${person.userId}/${person.roles.join()}`}>{content}</Guard>
    </Frame>
  );
}

/** Draws a page. `open`: people without a token may see it. */
export const start = (page: PageName, content: ReactNode, { open = false } = {}): void => {
  const root = document.getElementById("page");
  if (root) createRoot(root).render(<Whole page={page} open={open} content={content} />);
};
