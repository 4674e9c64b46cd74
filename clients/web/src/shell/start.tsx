import "./base.css";
import { Component, type ReactNode } from "react";
import { createRoot } from "react-dom/client";
import { Frame, type PageName } from "./frame";
import { usePerson } from "./identity";

/** A fault of ours costs the page's content, not its frame. */
class Guard extends Component<{ children: ReactNode }, { fault: string | null }> {
  override state = { fault: null };
  static getDerivedStateFromError = (error: unknown) => ({ fault: String(error) });
  override render() {
    if (this.state.fault === null) return this.props.children;
    return (
      <div className="frame-page">
        <div className="note bad" role="alert">
          {this.state.fault}
        </div>
      </div>
    );
  }
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
